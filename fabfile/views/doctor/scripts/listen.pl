# The same as listen.py, for a node that has perl and no Python.

use strict; use Socket; use IO::Handle;
my ($life, $path, @words) = @ARGV; my $end = time + $life; my %s;
open(my $into, ">>", $path) or die; $into->autoflush(1);
for my $word (@words) {
  my ($kind, $port, $address) = split /:/, $word, 3; my $h; my $tcp = $kind eq "tcp";
  socket($h, PF_INET, $tcp ? SOCK_STREAM : SOCK_DGRAM, 0) or next;
  setsockopt($h, SOL_SOCKET, SO_REUSEADDR, 1) if $tcp;
  if (bind($h, sockaddr_in($port, $address ? inet_aton($address) : INADDR_ANY)) && (!$tcp || listen($h, 64))) {
    $s{fileno($h)} = [$h, $kind, $port]; print $into "up $kind $port\n";
  } else { print $into "busy $kind $port $!\n"; }
}
print $into "ready\n";
while (time < $end) {
  my $bits = ""; vec($bits, $_, 1) = 1 for keys %s;
  next unless select(my $out = $bits, undef, undef, 1) > 0;
  for my $n (keys %s) {
    next unless vec($out, $n, 1); my ($h, $kind, $port) = @{$s{$n}};
    if ($kind eq "tcp") { my $c; accept($c, $h) and close $c }
    elsif (defined recv($h, my $data, 2048, 0)) { $data =~ s/[^ -~]//g; print $into "$data\n" }
  }
}
