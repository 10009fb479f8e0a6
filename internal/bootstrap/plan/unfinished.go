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
			open[e.Step] = e.State != Done && e.State != RolledBack
		}
	}
	return open, nil
}
