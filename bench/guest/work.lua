-- Tables, closures, strings and floats.
local total = 0.0
local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end
local function count(node)
  return node[1] and 1 + count(node[1]) + count(node[2]) or 1
end
for round = 1, tonumber(arg[1]) do
  total = total + count(tree(10))
  local words = {}
  for n = 1, 2000 do
    words[n] = string.format("%05d-%s", n * 7919 % 10007, string.rep("x", n % 7))
  end
  table.sort(words)
  for n = 1, #words, 3 do
    total = total + #words[n]:gsub("x+", "yy") + tonumber(words[n]:sub(1, 5)) % 17
  end
  local signal = {}
  for n = 1, 4000 do signal[n] = math.sqrt(n) * ((n * 31 + round) % 13 - 6) end
  for n = 2, 4000 do total = total + signal[n] * 0.25 + signal[n - 1] * 0.75 end
end
print(string.format("%.6f", total))
