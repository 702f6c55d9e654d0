// Package discover finds the endpoints of upstreams while the proxy runs. A Source gives lists
// of them; what it gives last is what the cluster has. The loops never wait for a source, and a
// source that fails, or is gone, leaves the last endpoints.
package discover
