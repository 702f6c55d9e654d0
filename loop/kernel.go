package loop

import "golang.org/x/sys/unix"

// kernelRelease is what uname tells, such as "6.12.0".
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "(unknown release)"
	}
	return unix.ByteSliceToString(u.Release[:])
}
