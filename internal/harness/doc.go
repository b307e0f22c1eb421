// Package harness attaches walhook, as the program that is shipped, to test databases: it builds the binary,
// makes the two roles of an installation (the database's owner, and one that has nothing but what the README says)
// and runs commands.
package harness
