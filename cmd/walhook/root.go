package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is one run of the command line: where it writes and what the global flags say. Commands
// are methods' children; nothing is kept outside of it.
type app struct {
	stdin          io.Reader // for answers of people, when it is a terminal
	stdout, stderr io.Writer
	env            environment

	configPath string
	logLevel   string
	logFormat  string
	noColor    bool

	began bool // a command's own code has been reached: errors are no longer cobra's
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdin: os.Stdin, stdout: stdout, stderr: stderr, env: os.LookupEnv}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.began {
		err = usagef(cmd.CommandPath()+" --help", "%s", strings.TrimSpace(err.Error()))
	}
	printError(stderr, err)
	return exitCode(err)
}

const exitHelp = `
Exit status: 0 ok, 1 failed, 2 usage or configuration, 3 environment (a database cannot be
reached, a check failed), 130 interrupted twice.`

// usageTemplate is cobra's with the examples at the end, where they are read.
const usageTemplate = `Usage:{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{else}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}
`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "walhook",
		Short: "Turn changes in an Odoo database into reliable webhooks",
		Long: `walhook reads PostgreSQL's write-ahead log through a replication slot and sends what
your rules match as signed webhooks: in order, retried, and never what Odoo rolled back.
Odoo itself is neither modified nor slowed.

Start with "walhook demo"; it needs no database and no configuration.
` + exitHelp,
		Example: `  walhook demo                       see it work on a private PostgreSQL
  walhook init --dsn DSN             write a configuration for a database
  walhook check                      what is missing before it can run
  walhook setup --dsn OWNER_DSN      make what is missing; --dry-run prints the SQL
  walhook run                        stream and deliver
  walhook status                     how it is doing`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(usageTemplate)
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", "", "configuration file (default $WALHOOK_CONFIG, then ./walhook.toml)")
	flags.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error (default [log] level, then info)")
	flags.StringVar(&a.logFormat, "log-format", "", "console or json (default [log] format, then what suits the terminal)")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours, as with $NO_COLOR; there are none but on a terminal")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmd.ValidateFlagGroups(); err != nil { // cobra looks only after this, when an error is taken for the command's own
			return err
		}
		a.began = true
		return nil
	}
	root.AddCommand(
		a.demoCommand(), a.initCommand(), a.checkCommand(), a.setupCommand(), a.runCommand(), a.reloadCommand(), a.statusCommand(), a.tailCommand(),
		a.rulesCommand(), a.modelsCommand(), a.fieldsCommand(), a.recipesCommand(), a.deliveriesCommand(), a.replayCommand(), a.backfillCommand(), a.resyncCommand(), a.endpointsCommand(), a.detachCommand(), a.teardownCommand(), a.versionCommand(),
	)
	refuseTwice(root)
	return root
}

// once is a flag's value that is given once: of several the last would be taken in silence.
type once struct {
	pflag.Value
	given bool
}

// Set takes the first value.
func (o *once) Set(text string) error {
	if o.given {
		return errors.New("it is given twice")
	}
	o.given = true
	return o.Value.Set(text)
}

// refuseTwice makes flags with one value refuse a second one, of a command and those below it.
func refuseTwice(c *cobra.Command) {
	wrap := func(f *pflag.Flag) {
		_, several := f.Value.(pflag.SliceValue)
		if _, done := f.Value.(*once); !done && !several && f.Value.Type() != "bool" && f.Value.Type() != "count" {
			f.Value = &once{Value: f.Value}
		}
	}
	c.Flags().VisitAll(wrap)
	c.PersistentFlags().VisitAll(wrap)
	for _, child := range c.Commands() {
		refuseTwice(child)
	}
}

// group is a command that only holds others: without one of them it is a usage error.
func group(use, short, example string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef(fmt.Sprintf("walhook %s --help", use), "unknown command %q for \"walhook %s\"", args[0], use)
		}
		return cmd.Help()
	}
	c.Args = cobra.ArbitraryArgs
	c.AddCommand(children...)
	return c
}

// load reads the configuration that the flags, the environment or the folder name.
func (a *app) load() (*Config, error) {
	path := a.configPath
	if path == "" {
		path, _ = a.env("WALHOOK_CONFIG")
	}
	if path == "" {
		path = "walhook.toml"
	}
	return loadConfig(path, a.env)
}

// logger makes the process's logger; flags go before the file. flush is as of newLogger.
func (a *app) logger(cfg LogSection) (log zerolog.Logger, flush func(), err error) {
	level, format := a.logLevel, a.logFormat
	if level == "" {
		level = cfg.Level
	}
	if format == "" {
		format = cfg.Format
	}
	return newLogger(a.stderr, level, format)
}

// printJSON writes a value for programs.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
