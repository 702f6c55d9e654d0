package server

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// Every key of /status is written in one style, and none comes from a name that
// somebody chose.
func TestStatusKeys(t *testing.T) {
	if n := statusKeys(t, reflect.TypeFor[status]()); n < 50 {
		t.Errorf("only %d keys were found", n)
	}
}

func statusKeys(t *testing.T, of reflect.Type) (n int) {
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch of.Kind() {
	case reflect.Map, reflect.Interface:
		t.Errorf("%v: its keys are not known beforehand", of)
	case reflect.Struct:
		for i := range of.NumField() {
			f := of.Field(i)
			if !f.Anonymous {
				n++
				key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if !snake.MatchString(key) {
					t.Errorf("%v.%s is %q in /status", of, f.Name, key)
				}
			}
			n += statusKeys(t, f.Type)
		}
	}
	return n
}
