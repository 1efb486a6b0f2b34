package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
)

// key is an API key as people see it.
type key struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Streams   []string   `json:"streams"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	Key       string     `json:"key,omitempty"`
}

func keyOf(k *apikey.Key, text string) key {
	out := key{ID: k.ID, Name: k.Name, Scopes: k.Scopes, Streams: k.Streams, CreatedAt: k.CreatedAt, Key: text}
	if out.Streams == nil {
		out.Streams = []string{}
	}
	if k.Revoked() {
		out.RevokedAt = &k.RevokedAt
	}
	return out
}

// keyFlags say where the keys are.
type keyFlags struct {
	local bool
	data  string
}

func (c *cli) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys",
		Long: `Make, list and revoke API keys. From the first key on every request needs one: Authorization: Bearer KEY,
in commands --api-key-file or PINFLOW_API_KEY. Scopes: write (post events), read (ask), admin (everything).
The keys are asked of the server, with a key of scope admin; --local opens the ledger itself, which is how the
first key is made.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := &keyFlags{}
	cmd.PersistentFlags().BoolVar(&f.local, "local", false, "open the project's ledger instead of asking the server")
	cmd.PersistentFlags().StringVar(&f.data, "data", "", "with --local: the data folder (default ./pinflow-data)")
	cmd.AddCommand(c.keysCreateCommand(f), c.keysListCommand(f), c.keysRevokeCommand(f))
	return cmd
}

func (c *cli) keysCreateCommand(f *keyFlags) *cobra.Command {
	var name string
	var scopes, streams []string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key and print it: it is told once and kept nowhere",
		Long: `Make a key and print it on stdout, alone, so that it can be sent into a file. It is told once: what is kept
is a hash. Without --scope the first key is an administrator's, later ones write and read.`,
		Example: "  pinflow keys create --local --name admin > admin.key\n  pinflow keys create --name shop --scope write --stream pin,user --api-key-file admin.key > shop.key",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.createKey(cmd.Context(), f, name, scopes, streams)
			if err != nil {
				return err
			}
			c.say("made key %s with scope %s%s; it is not told again", k.ID, strings.Join(k.Scopes, ", "), onlyStreams(k.Streams))
			if c.output == asTable {
				_, err := fmt.Fprintln(c.stdout, k.Key)
				return err
			}
			return c.printOne(k)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the key is for")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "write, read, admin; several with commas")
	cmd.Flags().StringSliceVar(&streams, "stream", nil, "limit the key to streams; several with commas")
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, flag string) pflag.NormalizedName {
		if flag == "scopes" || flag == "streams" {
			flag = strings.TrimSuffix(flag, "s")
		}
		return pflag.NormalizedName(flag)
	})
	return cmd
}

func onlyStreams(streams []string) string {
	if len(streams) == 0 {
		return ""
	}
	return " for " + strings.Join(streams, ", ")
}

func (c *cli) createKey(ctx context.Context, f *keyFlags, name string, scopes, streams []string) (k key, err error) {
	if f.local {
		keys, closing, err := c.localKeys(ctx, f)
		if err != nil {
			return k, err
		}
		made, text, err := keys.Make(ctx, name, scopes, streams)
		if text != "" {
			err = nil // it is made: that the list could not be read again is no failure
		}
		return keyOf(&made, text), asUsage(errors.Join(err, closing()))
	}
	server, err := c.client()
	if err != nil {
		return k, err
	}
	in := map[string]any{"name": name, "scopes": scopes, "streams": streams}
	return k, asUsage(server.Post(ctx, "/v1/keys", in, &k))
}

// asUsage makes a wrong scope, name or stream a mistake in the command line.
func asUsage(err error) error {
	var f *fault.Error
	if fault.CodeOf(err) == "bad_key_request" && errors.As(err, &f) {
		f.Exit = fault.ExitUsage
	}
	return err
}

func (c *cli) localKeys(ctx context.Context, f *keyFlags) (keeper, func() error, error) {
	var flags []config.Flag
	if f.data != "" {
		flags = append(flags, config.Flag{Key: "data", Name: "--data", Value: f.data})
	}
	p, err := c.load(flags...)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	if c.verbose {
		log = c.logger()
	}
	return app.LocalKeys(ctx, p, log)
}

// keeper is what a command asks of the keys of a ledger.
type keeper interface {
	Make(ctx context.Context, name string, scopes, streams []string) (apikey.Key, string, error)
	List(ctx context.Context) ([]apikey.Key, error)
	Revoke(ctx context.Context, id string) (apikey.Key, error)
}

func (c *cli) keysListCommand(f *keyFlags) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the keys, revoked ones too", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.listKeys(cmd.Context(), f)
			if err != nil {
				return err
			}
			s := sheet{columns: []string{"id", "name", "scopes", "streams", "created_at", "revoked_at"}}
			for _, k := range all {
				s.rows = append(s.rows, c.keyRow(&k))
			}
			return c.print(s)
		},
	}
}

func (c *cli) keyRow(k *key) []any {
	var revoked any
	if k.RevokedAt != nil {
		revoked = c.moment(*k.RevokedAt)
	}
	return []any{k.ID, orNull(k.Name), c.words(k.Scopes), c.words(k.Streams), c.moment(k.CreatedAt), revoked}
}

// words are a list in JSON and one text elsewhere.
func (c *cli) words(list []string) any {
	if c.output == asJSON || c.output == asNDJSON {
		return list
	}
	return strings.Join(list, ",")
}

// moment is a time as data, or for people in their zone.
func (c *cli) moment(at time.Time) any {
	if c.output == asTable {
		return at.In(c.zone()).Format("2006-01-02 15:04:05 MST")
	}
	return at.UTC().Format(time.RFC3339)
}

func (c *cli) listKeys(ctx context.Context, f *keyFlags) ([]key, error) {
	if !f.local {
		server, err := c.client()
		if err != nil {
			return nil, err
		}
		var got struct{ Keys []key }
		err = server.Get(ctx, "/v1/keys", nil, &got)
		return got.Keys, err
	}
	keys, closing, err := c.localKeys(ctx, f)
	if err != nil {
		return nil, err
	}
	list, err := keys.List(ctx)
	out := make([]key, len(list))
	for i := range list {
		out[i] = keyOf(&list[i], "")
	}
	return out, errors.Join(err, closing())
}

func (c *cli) keysRevokeCommand(f *keyFlags) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a key for ever, with the log-ins made with it", Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := c.revokeKey(cmd.Context(), f, args[0])
			if err != nil {
				return err
			}
			c.say("revoked key %s", k.ID)
			if c.output == asTable {
				return nil
			}
			return c.printOne(k)
		},
	}
}

func (c *cli) revokeKey(ctx context.Context, f *keyFlags, id string) (k key, err error) {
	if apikey.Looks(id) {
		return k, fault.New(fault.Config, "usage", "that is the key itself, not its id").
			WithAdvice("name the part between the underscores, as `pinflow keys ls` lists it").WithExit(fault.ExitUsage)
	}
	if !f.local {
		server, err := c.client()
		if err != nil {
			return k, err
		}
		return k, server.Post(ctx, "/v1/keys/"+url.PathEscape(id)+"/revoke", nil, &k)
	}
	keys, closing, err := c.localKeys(ctx, f)
	if err != nil {
		return k, err
	}
	gone, err := keys.Revoke(ctx, id)
	return keyOf(&gone, ""), errors.Join(err, closing())
}

// printOne prints one value as JSON, or as the only line of NDJSON or CSV.
func (c *cli) printOne(k key) error {
	if c.output == asJSON {
		return c.printJSON(k)
	}
	s := sheet{columns: []string{"id", "name", "scopes", "streams", "created_at", "revoked_at", "key"}}
	s.rows = [][]any{append(c.keyRow(&k), orNull(k.Key))}
	return c.print(s)
}
