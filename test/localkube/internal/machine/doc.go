// Package machine knows what a cluster needs of the Linux machine below it: which privileges, kernel features and system
// programs, what of it is missing and how to get it, and where its cgroups are. Every check asks the kernel by doing the
// thing once in a throw-away namespace; a version number proves nothing.
package machine
