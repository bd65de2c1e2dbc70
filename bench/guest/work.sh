# What configure scripts and start-up scripts do: builtins, expansions, and short-lived processes in between.
total=0
round=0
classify() {
  case $1 in
    *[!0-9]*) echo word ;;
    ?) echo digit ;;
    *) echo number ;;
  esac
}
while [ "$round" -lt "$1" ]; do
  for word in alpha 7 42 beta/gamma "$round" 'x y'; do
    kind=$(classify "$word")
    total=$((total + ${#kind} + ${#word}))
    path=/usr/${word#*/}/lib
    [ "${path%/lib}" = "$path" ] || total=$((total + 1))
  done
  if [ $((round % 16)) -eq 0 ]; then
    total=$((total + $(echo "a b c" | wc -c)))
    if [ -e /etc/passwd ] && busybox true; then total=$((total + 1)); fi
  fi
  round=$((round + 1))
done
echo "$total"
