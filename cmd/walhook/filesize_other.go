//go:build !unix

package main

// toleratesFileLimit has nothing to do: there is no such limit.
func toleratesFileLimit() {}
