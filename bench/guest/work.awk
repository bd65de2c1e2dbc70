# Fields, associative arrays, regular expressions.
{ lines++; words += NF; bytes += length($0) }
/^#define/ { defined[$2]++; if ($3 ~ /^[0-9]+$/) sum += $3 }
{ for (n = 1; n <= NF; n++) seen[$n]++ }
END {
  for (word in seen) if (seen[word] > most) most = seen[word]
  for (name in defined) names++
  print lines, words, bytes, names, sum, most
}
