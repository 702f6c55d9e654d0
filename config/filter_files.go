package config

import "strconv"

// FilterFile is a file that a filter reads when it is made, and again when it changes.
type FilterFile struct {
	Pos
	Key    string // where the configuration names it
	Name   string // as written
	Secret bool   // others must not read it
}

// readsFiles are settings of a filter that do.
type readsFiles interface{ files() []FilterFile }

// FilterFiles are the files of all filters.
func (c *Config) FilterFiles() (all []FilterFile) {
	c.lists(func(key string, list []Filter) {
		for i := range list {
			of, ok := list[i].Settings.(readsFiles)
			if !ok {
				continue
			}
			for _, f := range of.files() {
				if f.Name != "" {
					f.Pos, f.Key = list[i].Pos, key+"["+strconv.Itoa(i)+"]."+list[i].Kind+"."+f.Key
					all = append(all, f)
				}
			}
		}
	})
	return all
}

func (f *BasicAuthFilter) files() []FilterFile {
	return []FilterFile{{Key: "file", Name: f.File, Secret: true}}
}

func (f *APIKeyFilter) files() []FilterFile {
	return []FilterFile{{Key: "file", Name: f.File, Secret: true}}
}

func (f *JWTFilter) files() []FilterFile {
	return []FilterFile{{Key: "key_file", Name: f.KeyFile}, {Key: "secret_file", Name: f.SecretFile, Secret: true}, {Key: "ca", Name: f.CA}}
}
