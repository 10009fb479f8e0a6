package plan

import "fmt"

// Expect records that a service of ours will make things of a kind that only [Store.Undo] knows. Before is what there is of
// the kind by now, which is not ours. Target says for whom. What came since an earlier run of the service is ours: only the
// first record of a kind counts.
func (r *Recorder) Expect(kind Kind, target string, before []string) error {
	if len(before) > maxNames {
		return fmt.Errorf("cannot record %s: there are %d of them, more than %d", kind, len(before), maxNames)
	}
	for _, c := range r.store.Ledger.Changes() {
		if c.Kind == kind && c.Target == target {
			return nil
		}
	}
	return r.record(Record{
		Kind: kind, Target: target, After: &Image{Type: "note", Value: "made"},
		Before: &Image{Type: "note", Names: before},
	}, func() error { return nil })
}

// Recorded returns the first change of this kind and target that is in force, made by this run or by an earlier one.
func (r *Recorder) Recorded(kind Kind, target string) (Record, bool) {
	for _, c := range r.store.Ledger.Changes() {
		if c.Kind == kind && c.Target == target {
			return c, true
		}
	}
	return Record{}, false
}
