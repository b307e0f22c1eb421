// Package archtest holds the test that pins walhook's structure: which package may import what, and why.
package archtest
