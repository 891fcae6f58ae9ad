# What Mail::DKIM says of the signatures of messages, with the keys of a name server on loopback.
#
# mail_dkim.pl PORT PATH...: one line for each file: for each signature `d/s/a=result`. A file begins with a line
# that is no part of the message.
use strict;
use warnings;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS::Resolver;

my ($port, @paths) = @ARGV;
my $resolver = Net::DNS::Resolver->new(nameservers => ["127.0.0.1"], port => $port, recurse => 1, udp_timeout => 5);
Mail::DKIM::DNS::resolver($resolver);
for my $path (@paths) {
    open(my $file, "<:raw", $path) or die "$path: $!";
    my $octets = do { local $/; <$file> };
    $octets =~ s/^[^\n]*\n//;
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($octets);
    $verifier->CLOSE;
    print join("; ", map { join("/", $_->domain, $_->selector, $_->algorithm) . "=" . $_->result } $verifier->signatures), "\n";
}
