package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Weight asks for another weight of an endpoint.
type Weight struct {
	Upstream string `json:"upstream"`
	Endpoint string `json:"endpoint"` // its address
	Weight   int    `json:"weight"`   // 0: no new requests; -1: as its configuration says
}

const (
	upstreamsPath = "/upstreams/"
	endpointsPart = "/endpoints/"
	maxWeightText = 4 << 10
	wantWeight    = `expected {"weight": N}, where N is 0 to 65536, or null for the endpoint's own weight`
)

// weightPath takes apart /upstreams/NAME/endpoints/ADDRESS.
func weightPath(u *url.URL) (of Weight, ok bool) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), upstreamsPath)
	name, address, has := strings.Cut(rest, endpointsPart)
	if !ok || !has || name == "" || address == "" {
		return of, false
	}
	var errs [2]error
	of.Upstream, errs[0] = url.PathUnescape(name)
	of.Endpoint, errs[1] = url.PathUnescape(address)
	return of, errs[0] == nil && errs[1] == nil
}

// setWeight does what a request to weightPath asks for.
func (s *Server) setWeight(w http.ResponseWriter, r *http.Request) {
	of, ok := weightPath(r.URL)
	if !ok {
		say(w, http.StatusNotFound, answer{Error: "expected " + upstreamsPath + "NAME" + endpointsPart + "ADDRESS"})
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWeightText))
	if err == nil {
		of.Weight, err = parseWeight(text)
	}
	if err != nil {
		say(w, http.StatusBadRequest, answer{Error: wantWeight})
		return
	}
	if err := s.src.SetWeight(of); err != nil {
		say(w, http.StatusUnprocessableEntity, answer{Error: err.Error()})
		return
	}
	say(w, http.StatusOK, answer{Result: of})
}

func parseWeight(text []byte) (int, error) {
	var body struct {
		Weight json.RawMessage `json:"weight"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return 0, err
	}
	if string(body.Weight) == "null" {
		return -1, nil
	}
	var weight int
	if err := json.Unmarshal(body.Weight, &weight); err != nil || weight < 0 {
		return 0, errors.New("no weight")
	}
	return weight, nil
}
