package main

import (
	"errors"
	"fmt"
	"io"

	"walhook/delivery"
)

// size is a number of bytes: "512KiB", "16MiB", "2GiB", or "1048576".
type size = delivery.Size

// dsn is a connection string. It cannot be printed, as it may hold a password.
type dsn struct {
	// A pointer, as fmt prints unexported fields by reflection and a nested pointer as an address.
	text *string
}

// newDSN hides a connection string.
func newDSN(text string) dsn {
	if text == "" {
		return dsn{}
	}
	return dsn{&text}
}

// UnmarshalText takes the connection string as it stands.
func (d *dsn) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("the connection string is empty")
	}
	*d = newDSN(string(text))
	return nil
}

// reveal returns the connection string, for connecting.
func (d dsn) reveal() string {
	if d.text == nil {
		return ""
	}
	return *d.text
}

func (d dsn) isZero() bool { return d.text == nil }

// String hides the connection string.
func (d dsn) String() string { return "(dsn)" }

// Format hides the connection string from every verb.
func (d dsn) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.String()) } // fmt.State keeps its own errors

// MarshalText hides the connection string.
func (d dsn) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
