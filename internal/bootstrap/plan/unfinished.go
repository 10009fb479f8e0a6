package plan

// Unfinished returns the ids of the steps that the last run of a plan has begun and not brought to an end: they are run again
// whatever their Done says. It reads the journal in dir without its lock and changes nothing; where there is no journal, no step
// is unfinished. A line that is not whole is one that is being written.
func Unfinished(dir, plan string) (map[string]bool, error) {
	j, err := ReadJournal(dir)
	if err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, e := range j.Entries() {
		if e.Plan == plan && e.Step != "" {
			open[e.Step] = again(e.State)
		}
	}
	return open, nil
}

// again reports whether a step that has come to this state is run again though it is done: what Done looks at may be only half of
// it, or what comes after Do has not ended.
func again(state State) bool { return half(state) || state == Applied || state == Proved }

// half reports whether the step was stopped in the middle of Do.
func half(state State) bool { return state == Started || state == Failed || state == Stuck }
