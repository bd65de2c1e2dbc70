# Counts words, rewrites declarations with regular expressions, sorts.
use strict;
use warnings;

my @lines = <STDIN>;
my $total = 0;
for my $round (1 .. shift) {
    my (%count, @found);
    for my $n (0 .. 2999) {
        my $line = $lines[($n * 13 + $round) % @lines];
        $count{lc $1}++ while $line =~ /([A-Za-z_]\w+)/g;
        push @found, "$2 $1" if $line =~ /^\s*(?:extern\s+)?(\w+)\s+\*?(\w+)\s*\(/;
        (my $plain = $line) =~ s{/\*.*?\*/}{}g;
        $total += length($plain) + ($plain =~ tr/a-z//);
    }
    my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
    $total += @found + length join ',', @sorted[0 .. 99];
}
print "$total\n";
