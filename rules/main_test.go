package rules

import (
	"testing"

	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
