// Package bench measures walhook, as the program that is shipped, side by side with two things that bound what it can reach on a machine: a floor, which
// reads the same WAL and posts it with nothing kept, ordered, signed or logged, and a queue table, which keeps rows durably and sends nothing.
//
// They take turns in one run, on one private PostgreSQL with fsync on, against one receiver in a process of its own: what the machine
// does meanwhile meets all of them. Figures are medians over rounds with the least and the largest; every round proves that what was
// measured is right (everything arrived, in order, signed, logged), and a run fails on that alone, never on speed.
//
// The short form runs with the other tests. The long one is `make bench`.
package bench
