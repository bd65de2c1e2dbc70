"""Objects, dictionaries, strings, generators and floats, as scripts mix them."""
import sys


class Account:
    def __init__(self, number, balance):
        self.number = number
        self.balance = balance

    def deposit(self, amount):
        self.balance += amount
        return self


def primes(limit):
    sieve = bytearray([1]) * limit
    for n in range(2, limit):
        if sieve[n]:
            yield n
            for multiple in range(n * n, limit, n):
                sieve[multiple] = 0


def queens(size, row=0, columns=0, left=0, right=0):
    if row == size:
        return 1
    count = 0
    for column in range(size):
        bit = 1 << column
        l, r = 1 << (row + column), 1 << (row - column + size)
        if not (columns & bit or left & l or right & r):
            count += queens(size, row + 1, columns | bit, left | l, right | r)
    return count


total = 0
for round_number in range(int(sys.argv[1])):
    accounts = {n: Account(n, float(n)) for n in range(2000)}
    for n in range(6000):
        accounts[n * 7919 % 2000].deposit(n / 3)
    words = " ".join(f"{a.number}:{a.balance:.3f}" for a in accounts.values()).split()
    words.sort(key=lambda word: word[::-1])
    total += sum(primes(5000)) + queens(6) + len("".join(words[:100])) + round_number
print(total)
