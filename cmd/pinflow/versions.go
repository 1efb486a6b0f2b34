package main

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/fault"
)

// versionAnswer is a version of a view as /v1/views/VIEW/versions tells it.
type versionAnswer struct {
	ID    int64  `json:"id"`
	Hash  string `json:"hash"`
	State string `json:"state"`
	Says  []struct {
		Key  string `json:"key"`
		Text string `json:"text"`
	} `json:"says"`
}

func (c *cli) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff VIEW@A VIEW@B",
		Short: "How two versions of views differ: A and B are hashes or their beginnings, numbers, or states",
		Example: "  pinflow metrics diff pins@standby pins@serving\n" +
			"  pinflow metrics diff pins@8f3c21d0 pins@5e0400a5",
		Args: arguments("VIEW@A", "VIEW@B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.version(cmd, args[0])
			if err != nil {
				return err
			}
			b, err := c.version(cmd, args[1])
			if err != nil {
				return err
			}
			return c.print(versionDiff(a, b))
		},
	}
}

// version finds VIEW@WHICH; without @ the serving one.
func (c *cli) version(cmd *cobra.Command, name string) (*versionAnswer, error) {
	view, which, named := strings.Cut(name, "@")
	if !named {
		which = "serving"
	}
	if view == "" || which == "" {
		return nil, usage(cmd, "%q is no version: write it like pins@serving or pins@8f3c21d0", name)
	}
	server, err := c.client()
	if err != nil {
		return nil, err
	}
	var answer struct {
		Versions []versionAnswer `json:"versions"`
	}
	if err := server.Get(cmd.Context(), "/v1/views/"+url.PathEscape(view)+"/versions", nil, &answer); err != nil {
		return nil, err
	}
	var known []string
	for i := range answer.Versions { // newest first
		v := &answer.Versions[i]
		if v.State == which || strconv.FormatInt(v.ID, 10) == which || len(which) >= 4 && strings.HasPrefix(v.Hash, which) {
			return v, nil
		}
		known = append(known, short(v.Hash)+" ("+v.State+")")
	}
	return nil, fault.New(fault.Record, "unknown_version", "view %s has no version %q", view, which).WithAdvice("use one of: %s", strings.Join(known, ", "))
}

// versionDiff lists what the versions say differently.
func versionDiff(a, b *versionAnswer) sheet {
	s := sheet{columns: []string{"key", "before", "after"}}
	says := func(v *versionAnswer, key string) any {
		for _, l := range v.Says {
			if l.Key == key {
				return l.Text
			}
		}
		return nil
	}
	seen := map[string]bool{}
	for _, v := range []*versionAnswer{a, b} {
		for _, l := range v.Says {
			if before, after := says(a, l.Key), says(b, l.Key); !seen[l.Key] && before != after {
				s.rows = append(s.rows, []any{l.Key, before, after})
			}
			seen[l.Key] = true
		}
	}
	return s
}
