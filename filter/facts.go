package filter

// fact is what a filter has found out about a request, for filters behind it: a claim of a JWT, the name of an API
// key. name is a constant of the configuration.
type fact struct {
	name     string
	from, to int // in Request.factText
}

// SetFact notes a fact about q, as the variable {NAME} has it. value is copied.
func (q *Request) SetFact(name string, value []byte) {
	from := len(q.factText)
	q.factText = append(q.factText, value...)
	q.facts = append(q.facts, fact{name, from, len(q.factText)})
}

// Fact lends the fact that was noted last under a name, nil: there is none.
func (q *Request) Fact(name string) []byte {
	for i := len(q.facts) - 1; i >= 0; i-- {
		if f := &q.facts[i]; f.name == name {
			return q.factText[f.from:f.to]
		}
	}
	return nil
}
