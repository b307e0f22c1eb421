//go:build unix

package pgserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is who the server's programs run as. The zero value is the caller.
type account struct {
	name     string
	uid, gid int
	other    bool // another than the caller: privileges are dropped
}

// serverAccount is the caller, or for root, whom initdb and postgres refuse, the user
// postgres, or else nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			continue
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil || uid == 0 {
			continue
		}
		return account{name: name, uid: uid, gid: gid, other: true}, nil
	}
	return account{}, &Error{
		Message: "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as",
		hint:    "run the command as another user, or create one: useradd --system postgres",
	}
}

// own gives a path to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Chown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("give directory to %s: %w", a.name, err)
	}
	return nil
}

// command runs a program as the account, in dir, since the caller's own directory
// may be closed to it. Messages are in English: start-up reads them.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(environment(), "LC_ALL=C", "PWD="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// environment is the caller's without what would direct PostgreSQL elsewhere.
func environment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		switch name := variable(entry); {
		case len(name) > 2 && name[:2] == "PG", name == "LC_ALL", name == "LANG", name == "LANGUAGE", name == "PWD":
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}

// variable is the name in NAME=value.
func variable(entry string) string {
	for i := range entry {
		if entry[i] == '=' {
			return entry[:i]
		}
	}
	return entry
}
