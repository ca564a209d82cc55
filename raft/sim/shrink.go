package sim

import "time"

// Shrink looks for a smaller run that breaks the same promise: with fewer kinds of faults, and shorter. It returns
// the options that it found, at worst those that it was given.
func Shrink(opts Options) Options {
	opts.Trace = nil
	want := Run(opts).Violation
	if want == nil {
		return opts
	}
	broken := func(o Options) *Violation {
		v := Run(o).Violation
		if v == nil || v.Property != want.Property {
			return nil
		}
		return v
	}
	for i := range faultNames {
		try := opts
		try.Without |= 1 << i
		if try.Without != opts.Without && broken(try) != nil {
			opts = try
		}
	}
	// Faults that come after the broken promise add nothing to it; liveness may need shorter trouble.
	for try := opts; try.Duration > time.Second; {
		try.Duration = try.Duration * 3 / 4
		if broken(try) == nil {
			break
		}
		opts = try
	}
	return opts
}
