// Package limit refuses requests that are too many: by the rate of their key, or as too many of it are under way.
package limit
