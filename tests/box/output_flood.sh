# A gigabyte on stdout, some on stderr.
head -c 20000000 /dev/zero >&2
head -c 1000000000 /dev/zero
