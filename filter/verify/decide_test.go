package verify

import (
	"strings"
	"testing"

	"zproxy/filter"
)

func named(text string) *filter.Name { n := filter.NewName(text); return &n }

// fieldsOf are those that an origin gets: of the client, and added.
func fieldsOf(q *filter.Request) string {
	var list []string
	h := q.Head
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Flags == 0 {
			list = append(list, string(h.Bytes(f.Name))+"="+string(h.Bytes(f.Value)))
		}
	}
	for _, f := range q.Forward.Apply(nil) {
		list = append(list, f.Name+"="+string(f.Value))
	}
	return strings.Join(list, " ")
}

func TestDecide(t *testing.T) {
	id := Identity{User: named("X-User"), Fields: []*filter.Name{named("X-Role")}, Strip: []*filter.Name{named("Authorization")}}
	q := filter.NewRequest()
	q.Begin()
	q.Head = request(t, "/", "x-user: root\r\nX_User: root\r\nX-USER: root\r\nX-Role: a\r\nX_ROLE: b\r\nAuthorization: x\r\nX-Users: c\r\n")
	v := &Verdict{Name: []byte("joe"), Fields: []Field{{id.Fields[0], []byte("admin")}, {id.Fields[0], []byte("dev")}}}
	if id.Decide(q, v) != filter.Continue || string(q.User) != "joe" {
		t.Errorf("%q", q.User)
	}
	if got := fieldsOf(q); got != "Host=a X-Users=c X-User=joe X-Role=admin X-Role=dev" {
		t.Error(got)
	}
	// Nobody is named: nobody is.
	q.Begin()
	q.Head = request(t, "/", "X-User: root\r\nX-Role: a\r\n")
	if id.Decide(q, &Verdict{}) != filter.Continue || q.User != nil {
		t.Error("somebody")
	}
	if got := fieldsOf(q); got != "Host=a" {
		t.Error(got)
	}
	q.Begin()
	if id.Decide(q, Refuse(401, "why").With(Challenge("Basic"))) != filter.Reply || q.Status != 401 || q.Reason != "why" {
		t.Errorf("%d %s", q.Status, q.Reason)
	}
	if got := q.Respond.Apply(nil); len(got) != 1 || got[0].Name != "WWW-Authenticate" || string(got[0].Value) != "Basic" {
		t.Error(got)
	}
	q.Begin()
	if id.Decide(q, Refuse(302, "why")) != filter.Reply || q.Status != 302 || q.Reason != "" {
		t.Errorf("%d %s", q.Status, q.Reason)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	id := Identity{User: named("X-User"), Fields: []*filter.Name{named("X-Role")}, Strip: []*filter.Name{named("Authorization")}}
	v := &Verdict{Name: []byte("joe"), Fields: []Field{{id.Fields[0], []byte("admin")}}}
	q := filter.NewRequest()
	q.Head = request(t, "/", "X-User: root\r\nAuthorization: x\r\n")
	if n := testing.AllocsPerRun(100, func() {
		q.Begin()
		id.Decide(q, v)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
