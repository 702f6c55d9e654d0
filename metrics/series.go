package metrics

import "strconv"

// seriesBoundsUs are the upper bounds of the latencies of one route or upstream:
// fewer than bucketBoundsUs, because there are many of them.
var seriesBoundsUs = [...]int64{1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000}

// Series counts what ended on one route, or at one upstream. It is of one size,
// 168 bytes, made before the first request.
type Series struct {
	Classes           [6]uint64 // final responses, by status/100; [0] is what fits no class
	BytesIn, BytesOut uint64    // content, of requests and responses
	SumNs             uint64
	Buckets           [len(seriesBoundsUs) + 1]uint64 // not cumulative
}

// Count adds a request that has ended.
func (s *Series) Count(status uint16, in, out uint64, ns int64) {
	class := status / 100
	if class > 5 {
		class = 0
	}
	s.Classes[class]++
	s.BytesIn += in
	s.BytesOut += out
	s.SumNs += uint64(max(0, ns))
	i := 0
	for i < len(seriesBoundsUs) && ns > seriesBoundsUs[i]*1000 {
		i++
	}
	s.Buckets[i]++
}

func (s *Series) add(other *Series) {
	for i := range s.Classes {
		s.Classes[i] += other.Classes[i]
	}
	for i := range s.Buckets {
		s.Buckets[i] += other.Buckets[i]
	}
	s.BytesIn += other.BytesIn
	s.BytesOut += other.BytesOut
	s.SumNs += other.SumNs
}

// addSeries adds from to sum, which may be shorter.
func addSeries(sum, from []Series) []Series {
	for len(sum) < len(from) {
		sum = append(sum, Series{})
	}
	for i := range from {
		sum[i].add(&from[i])
	}
	return sum
}

// series writes what is counted for each of names, over all loops together:
// names bound how many lines there are.
func (e *exposition) series(prefix, label, what string, names []string, all []Series) {
	all = all[:min(len(all), len(names))]
	if len(all) == 0 {
		return
	}
	responses := prefix + "_responses_total"
	e.family(responses, counter, "Final responses to requests "+what+", by class of status.")
	for i := range all {
		for class, v := range all[i].Classes {
			if class > 0 || v > 0 {
				e.sample(responses, v, Label{label, names[i]}, Label{"class", className(class)})
			}
		}
	}
	bytes := func(name, help string, of func(*Series) uint64) {
		e.family(name, counter, help)
		for i := range all {
			e.sample(name, of(&all[i]), Label{label, names[i]})
		}
	}
	bytes(prefix+"_request_content_bytes_total", "Content of requests "+what+".", func(s *Series) uint64 { return s.BytesIn })
	bytes(prefix+"_response_content_bytes_total", "Content of responses to requests "+what+".", func(s *Series) uint64 { return s.BytesOut })
	duration := prefix + "_request_duration_seconds"
	e.family(duration, histo, "Time from the first byte of a request "+what+" to the last of its response.")
	for i := range all {
		var sum uint64
		for b, n := range all[i].Buckets {
			sum += n
			le := "+Inf"
			if b < len(seriesBoundsUs) {
				le = strconv.FormatFloat(float64(seriesBoundsUs[b])/1e6, 'g', -1, 64)
			}
			e.sample(duration+"_bucket", sum, Label{label, names[i]}, Label{"le", le})
		}
		e.sampleFloat(duration+"_sum", float64(all[i].SumNs)/1e9, Label{label, names[i]})
		e.sample(duration+"_count", sum, Label{label, names[i]})
	}
}
