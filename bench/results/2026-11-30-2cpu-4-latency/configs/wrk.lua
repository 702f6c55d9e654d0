-- What wrk reports, as one line of JSON, and two kinds of load that need a script:
--   wrk -s wrk.lua URL -- pipeline N     N requests in one write
--   wrk -s wrk.lua URL -- upload BYTES   POST with a body
function init(args)
  if args[1] == "pipeline" then
    local batch = string.rep(wrk.format(), tonumber(args[2]))
    request = function() return batch end
  elseif args[1] == "upload" then
    wrk.method = "POST"
    wrk.body = string.rep("0123456789abcdef", tonumber(args[2]) / 16)
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"duration_us":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
