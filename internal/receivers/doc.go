// Package receivers tests docs/receivers.md: it takes the programs and statements out of the page, runs them as the receivers that
// they are, and sends them what walhook sends. A program whose interpreter the machine lacks is skipped, and says so.
package receivers
