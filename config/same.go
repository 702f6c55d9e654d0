package config

import "reflect"

var posType = reflect.TypeFor[Pos]()

// Same says whether two parts of configurations, of one type, mean the same: where in
// their files they stand makes no difference, what the files hold that they name does.
func Same(a, b any) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b), false) }

// SameButFiles is Same where it makes no difference what files hold, but which they are.
func SameButFiles(a, b any) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b), true) }

func same(a, b reflect.Value, butFiles bool) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() || a.Type() == posType {
		return true
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem(), butFiles)
	case reflect.Interface:
		if a.IsNil() || b.IsNil() || a.Elem().Type() != b.Elem().Type() {
			return a.IsNil() && b.IsNil()
		}
		return same(a.Elem(), b.Elem(), butFiles)
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i), butFiles) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if butFiles && a.Type().Elem().Kind() == reflect.Uint8 { // a file
			return true
		}
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i), butFiles) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if !same(a.MapIndex(key), b.MapIndex(key), butFiles) { // there may be none in b
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
