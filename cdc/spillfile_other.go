//go:build !linux

package cdc

import (
	"errors"
	"os"
)

// openUnnamed is Linux's alone.
func openUnnamed(string) (*os.File, error) { return nil, errors.ErrUnsupported }
