package bpf

// No source works on a big-endian machine: its objects are there for the exporter to
// build, and to say so.

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel,bpfeb -cflags "-O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu" -strip llvm-strip -type age_args -type finish_args hooks hooks.bpf.c
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel,bpfeb -cflags "-O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu" -strip llvm-strip -type begin_args -type finish_args stock stock.bpf.c
