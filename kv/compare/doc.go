// Package compare decides whether the members of a cluster hold the same state, from the checksums that each keeps of it
// (kv.Machine.HashPoints).
//
// Members are compared where they name the same index, cluster version and apply version; who is behind, of another build or silent is not
// compared. If checksums differ, a member is blamed only when it is the only one that differs and more than half of all voters, those
// included that did not answer, agree with each other. Anything else that differs is a conflict that nobody can decide: an alarm for a person.
//
// Decide is pure; Suspicion asks for the same finding several times, each from fresh answers, before anyone acts on it. What follows from it
// is not decided here.
package compare
