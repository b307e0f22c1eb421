package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/internal/periodic"
	"walhook/state"
	"walhook/status"
)

// ImagesSection is [images]: tables whose rows are kept in the state, so that the values before a change come from there and not from WAL. Their replica
// identity stays as it is.
type ImagesSection struct {
	Tables []string `toml:"tables"` // models, as "res.partner", or tables, as "my_table"; default none
}

// imageTables finds the tables of [images]. One that is missing or has no primary key is a mistake, with its place in the file.
func (c *Config) imageTables(cat *catalog.Catalog) (tables []*catalog.Table, problems []error) {
	for i, name := range c.Images.Tables {
		wrong := func(message, hint string) {
			problems = append(problems, c.Doc.problem(fmt.Sprintf("images.tables[%d]", i), true, message, hint))
		}
		t := tableNamed(cat, name)
		switch m := cat.Model(name); {
		case m != nil && m.Table != nil:
			t = m.Table
		case t == nil && (m != nil || cat.Tableless(name)):
			wrong(fmt.Sprintf("model %q has no table: it is abstract or a report", name), "name the model that its data comes from")
			continue
		case t == nil:
			hint := ""
			if s := nearest(name, modelsAndTables(cat)); s != "" {
				hint = fmt.Sprintf("did you mean %q?", s)
			}
			wrong(fmt.Sprintf("there is no model and no table %q", name), hint)
			continue
		}
		switch {
		case len(t.PrimaryKey) == 0:
			wrong(fmt.Sprintf("table %s has no primary key: its rows cannot be told apart", t), "take it out")
		case t.Partitioned || t.Inherited:
			wrong(fmt.Sprintf("table %s has partitions or other tables below it: no images are kept of such", t), "take it out, and let walhook setup give it REPLICA IDENTITY FULL")
		case t.Unlogged:
			wrong(fmt.Sprintf("table %s is unlogged: WAL holds none of its changes", t), "take it out")
		case slices.Contains(tables, t):
			wrong(fmt.Sprintf("table %s is named twice", t), "take one of them out")
		default:
			tables = append(tables, t)
		}
	}
	return tables, problems
}

// tableNamed finds a table of schema public by its name, or any by schema.name.
func tableNamed(cat *catalog.Catalog, name string) *catalog.Table {
	if t := cat.Table("public", name); t != nil {
		return t
	}
	schema, table, _ := strings.Cut(name, ".")
	return cat.Table(schema, table)
}

func modelsAndTables(cat *catalog.Catalog) (names []string) {
	for _, m := range cat.Models {
		names = append(names, m.Name)
	}
	for _, t := range cat.Tables {
		names = append(names, strings.TrimPrefix(t.String(), "public."))
	}
	return names
}

// imageNeeds adds what images need: all changes of their tables, whether a rule is interested or not, and the right to read the rows that have none
// yet. They need no old rows in WAL.
func imageNeeds(tables []*catalog.Table, needs []cdc.TableNeed) []cdc.TableNeed {
	for _, t := range tables {
		i := slices.IndexFunc(needs, func(n cdc.TableNeed) bool { return n.Schema == t.Schema && n.Table == t.Name })
		if i < 0 {
			i, needs = len(needs), append(needs, cdc.TableNeed{Schema: t.Schema, Table: t.Name})
		}
		n := &needs[i]
		n.Full, n.Read, n.Optional, n.Columns = false, true, false, nil
		n.Why = append(n.Why, "[images] keeps the rows of it")
	}
	return needs
}

// keepImages lets ingest complete changes from images; nil when none are kept. Those of tables that are no longer wanted, or not
// published, are given up: what they miss, nobody would see.
func (m *member) keepImages(ctx context.Context, reader *state.Reader, ingest *delivery.Ingest) (*delivery.Images, error) {
	var wanted []state.ImageTable
	for _, t := range m.survey.images {
		if !m.survey.facts.Streams(t.Schema, t.Name, t.PrimaryKey) { // its changes are not seen: images would be of no use, and wrong once they are
			m.p.log.Warn().Stringer("table", t).Str("hint", "walhook setup").Msg("no images are kept of this table: the publication does not hold all of it")
			continue
		}
		wanted = append(wanted, state.ImageTable{Schema: t.Schema, Name: t.Name})
	}
	tables, err := reader.KeepImagesOf(ctx, wanted)
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	images := delivery.NewImages(m.p.db, tables, m.survey.rules.Keeps)
	images.Count(&m.p.imageStats)
	ingest.KeepImages(images)
	return images, nil
}

// imagesState is what the status pages tell of images, with what this process has counted; nil when none are kept.
func (p *pipeline) imagesState() *status.ImagesState {
	looked := p.images.Load()
	if looked == nil {
		return nil
	}
	s := *looked
	c := status.ImageCounts(p.imageStats.Counts())
	s.Counts = &c
	return &s
}

// imagesEvery is how often the status pages look at how far images have come.
const imagesEvery = 5 * time.Second

// watchImages keeps what the status pages tell of images.
func (p *pipeline) watchImages(ctx context.Context) error {
	return periodic.Now(ctx, imagesEvery, func() error {
		if s, err := p.db.ImageStates(ctx); err == nil { // others say that the state is away
			p.images.Store(s)
		}
		return nil
	})
}
