#!/bin/sh
# Runs what is asked for on the console, a line `NAME REPEATS` each, and says when it begins and ends and what came
# out of it. Time is taken outside: a guest's clock is not to be trusted with that.
cd /work || exit 1
stty -echo
. ./programs.sh

# Compiles the kernels with the guest's own compiler and prints them in base64, for whoever puts them beside the image.
if [ ! -x kernels ]; then
  if gcc -O2 -o /tmp/kernels ./*.c -lm; then
    echo '@kernels'
    gzip -9 -n < /tmp/kernels | base64
    echo '@end'
  fi
  exec poweroff -f
fi

prepare_data
echo '@ready'
while read -r name repeats; do
  # Time for the reader of a replay to stop it in between.
  ./kernels pause 1 > /dev/null
  echo "@begin $name"
  if type "work_$name" > /dev/null 2>&1; then
    "work_$name" "$repeats" > /tmp/result 2>&1 && result=$(crc32 < /tmp/result)
  else
    result=$(./kernels "$name" "$repeats" 2> /tmp/result)
  fi || result="failed: $(head -c 300 /tmp/result)"
  echo "@end $name" $result
done
