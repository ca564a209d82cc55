// Package merge makes one log of several: lines that carry their time, from streams that are each in order, come out in the order of time. What it
// holds back is bounded in lines and in time: a stream that is silent delays the others by no more than a named patience.
package merge
