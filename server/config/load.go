package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Load completes the parsed flags from the environment and the configuration file, and validates the whole. environ is in the
// form of os.Environ. All that is wrong is reported at once.
func Load(f *pflag.FlagSet, environ []string) (Config, error) {
	settleAliases(f)
	fromEnvironment, warnings, err := loadEnvironment(f, environ)
	if err != nil {
		return Config{}, err
	}
	if err := apply(f, fromEnvironment, EnvironmentName); err != nil {
		return Config{}, err
	}
	fromEtcds, more, err := loadEtcdsEnvironment(f, environ)
	if err != nil {
		return Config{}, err
	}
	warnings = append(warnings, more...)
	if err := apply(f, fromEtcds, etcdVariable); err != nil {
		return Config{}, err
	}
	if path, _ := f.GetString(keyConfigFile); path != "" {
		fromFile, err := loadFile(f, path)
		if err != nil {
			return Config{}, err
		}
		if err := apply(f, fromFile, func(key string) string { return path + ": " + key }); err != nil {
			return Config{}, err
		}
	}
	c, err := validate(f)
	c.Warnings = append(warnings, c.Warnings...)
	return c, errors.Join(refuse(f), err)
}

// delimiter is a character that no setting's name has: the settings are flat.
const delimiter = "."

// loadEnvironment takes the variables that name a setting.
func loadEnvironment(f *pflag.FlagSet, environ []string) (*koanf.Koanf, []string, error) {
	byVariable := map[string]string{}
	ownSettings(f, func(x *pflag.Flag) { byVariable[EnvironmentName(x.Name)] = x.Name })
	warnings, err := strangers(byVariable, environ)
	if err != nil {
		return nil, nil, err
	}
	k, err := readEnvironment(environmentPrefix, environ, func(name, _ string) string { return byVariable[name] })
	return k, warnings, err
}

// readEnvironment takes the variables with a prefix for which setting gives a name.
func readEnvironment(prefix string, environ []string, setting func(name, value string) string) (*koanf.Koanf, error) {
	k := koanf.New(delimiter)
	err := k.Load(env.Provider(delimiter, env.Opt{
		Prefix:        prefix,
		TransformFunc: func(name, value string) (string, any) { return setting(name, value), value },
		EnvironFunc:   func() []string { return environ },
	}), nil)
	if err != nil {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	return k, nil
}

// loadEtcdsEnvironment takes etcd's variables, so that what was written for etcd, such as the unit of a service, starts a node as it is. An empty one is
// none, as for etcd; one that etcd does not have either gets a warning.
func loadEtcdsEnvironment(f *pflag.FlagSet, environ []string) (*koanf.Koanf, []string, error) {
	byVariable := map[string]string{}
	f.VisitAll(func(x *pflag.Flag) { byVariable[etcdVariable(x.Name)] = x.Name })
	for _, a := range aliases {
		byVariable[etcdVariable(a.name)] = a.key
	}
	var warnings []string
	k, err := readEnvironment(etcdPrefix, environ, func(name, value string) string {
		if value == "" || ofService.MatchString(name) {
			return ""
		}
		if byVariable[name] == "" {
			warnings = append(warnings, fmt.Sprintf("the environment variable %s is no setting of etcd's that is known here, and is ignored", name))
		}
		return byVariable[name]
	})
	slices.Sort(warnings)
	return k, warnings, err
}

func loadFile(f *pflag.FlagSet, path string) (*koanf.Koanf, error) {
	k := koanf.New(delimiter)
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("--%s %s does not exist: create it or leave the flag out", keyConfigFile, path)
		}
		return nil, fmt.Errorf("read --%s %s: %w", keyConfigFile, path, err)
	}
	for _, key := range k.Keys() {
		if name := flagOf(key); name != "" && f.Lookup(name) != nil {
			value := k.Get(key)
			k.Delete(key)
			if err := k.Set(name, value); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", path, key, err)
			}
			continue
		}
		name, _, _ := strings.Cut(key, delimiter)
		if f.Lookup(name) == nil || name == keyConfigFile {
			return nil, fmt.Errorf("%s: unknown setting %q: the keys are the names of the flags, without the dashes in front (see --help)", path, key)
		}
		if name != key {
			return nil, fmt.Errorf("%s: %s must be a plain value, not a mapping", path, name)
		}
	}
	return k, nil
}

// apply gives the layer's values to the flags that no stronger layer has set. The flags do the typing, so that a value means the
// same wherever it comes from.
func apply(f *pflag.FlagSet, layer *koanf.Koanf, source func(key string) string) error {
	var errs []error
	for _, key := range layer.Keys() {
		if f.Changed(key) {
			continue
		}
		var text string
		switch v := layer.Get(key).(type) {
		case []any:
			parts := make([]string, len(v))
			for i := range v {
				switch v[i].(type) {
				case nil, []any, map[string]any, map[any]any:
					return fmt.Errorf("%s: item %d of the list is not a plain value", source(key), i+1)
				}
				parts[i] = fmt.Sprint(v[i])
			}
			text = strings.Join(parts, ",")
		case nil:
			continue
		default:
			text = fmt.Sprint(v)
		}
		if err := f.Set(key, text); err != nil {
			errs = append(errs, badValue(source(key), text, f.Lookup(key)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
