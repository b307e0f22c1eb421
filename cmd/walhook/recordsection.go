package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"walhook/delivery"
	"walhook/state"
)

// RecordSection is [record]: net changes of watched tables, kept for `walhook rules backtest`. They are kept only while Keep is set.
type RecordSection struct {
	Keep     delivery.Duration `toml:"keep"`      // how long; whole UTC days go, so a day more may be kept; default not at all
	MaxBytes size              `toml:"max_bytes"` // on disk, beyond which the oldest days go before their time, and recording pauses when today's alone are more; default 2GiB
}

// defaultRecordBytes is the default of max_bytes.
const defaultRecordBytes = 2 << 30

func (s RecordSection) config() state.Record {
	r := state.Record{Keep: s.Keep.Std(), MaxBytes: int64(s.MaxBytes)}
	if r.MaxBytes == 0 {
		r.MaxBytes = defaultRecordBytes
	}
	return r
}

// recordFull logs that recording has paused or goes on.
func recordFull(log zerolog.Logger, full bool) {
	if full {
		log.Warn().Str("hint", "raise max_bytes in [record]; it goes on by itself with the next day").Msg("changes are not recorded at present: today's take all the room")
		return
	}
	log.Info().Msg("changes are recorded again")
}

func (s RecordSection) validate() error {
	var problems []error
	switch keep := s.Keep.Std(); {
	case keep == 0 && s.MaxBytes != 0:
		problems = append(problems, errors.New("max_bytes: nothing is recorded without keep"))
	case keep < 0 || keep > 0 && keep < time.Hour || keep > 366*24*time.Hour:
		problems = append(problems, fmt.Errorf("keep: %s is not between 1h and 366d", keep))
	}
	if s.MaxBytes != 0 && s.MaxBytes < 16<<20 {
		problems = append(problems, errors.New("max_bytes: less than 16MiB is too little to record a day"))
	}
	return errors.Join(problems...)
}
