package disk

// Move is a change of a name.
type Move struct {
	// Operation is its number in the log.
	Operation int
	// From and To are names within directories; one that was made comes from nowhere, one that was removed goes nowhere.
	From, To string
}

// Moves lists the changes of names, so that a test can see what its user did.
func (d *Disk) Moves() []Move {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Move
	for n, o := range d.log {
		if o.kind == opName {
			out = append(out, Move{Operation: n, From: o.name.from.name, To: o.name.to.name})
		}
	}
	return out
}

// Writes counts the changes of the content of files that had the name at the time.
func (d *Disk) Writes(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	count, names := 0, map[Inode]string{}
	for _, o := range d.log {
		switch {
		case o.kind == opName:
			names[o.name.inode] = o.name.to.name
		case o.kind == opData && names[o.inode] == name:
			count++
		}
	}
	return count
}
