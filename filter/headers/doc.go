// Package headers changes the fields of requests and responses.
package headers
