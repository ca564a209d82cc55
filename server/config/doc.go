// Package config is what a person tells a node: flags, environment variables and a YAML file, in that order of precedence,
// before the defaults. A flag that means what an etcd flag means has etcd's name.
//
// The package promises that a Config which Load returns is complete and consistent, and that every refusal names the
// setting, where its value came from, and what to write instead. It opens nothing but the configuration file: whether an
// address can be listened on or a directory be used is found out by who uses it.
package config
