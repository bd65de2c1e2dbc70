#!/bin/sh
read -r hostname < /proc/sys/kernel/hostname
read -r uptime idle < /proc/uptime
printf 'Content-Type: text/plain\r\nCache-Control: no-store\r\n\r\n'
printf 'hostname %s\nuptime_seconds %s\nidle_seconds %s\n' "$hostname" "$uptime" "$idle"
