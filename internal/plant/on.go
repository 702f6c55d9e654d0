//go:build plant

package plant

import "os"

var loose = os.Getenv("ZPROXY_PLANT")

// Is says whether bug is let loose.
func Is(bug string) bool { return bug == loose }
