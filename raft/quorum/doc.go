// Package quorum is the arithmetic of majorities: which index a set of voters has stored, how a vote
// stands, how many may be lost. It knows no members, only numbers, and is checked against brute force.
// Two sets of voters at once (joint consensus, §6) are decided by asking each and taking the lesser answer.
package quorum
