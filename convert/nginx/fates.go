package nginx

import (
	"sync"

	"zproxy/convert"
)

// fate is what becomes of a directive. With neither text it is translated, and what of it is not says the
// translation itself.
type fate struct {
	lost  string // it has no equivalent: why
	note  string // nothing to translate: why
	inner bool   // there are directives in its block that are judged as well
}

const (
	static   = "zproxy serves no files; leave them to a server that does, and name it as an upstream"
	scripts  = "zproxy speaks HTTP to origins alone, not this protocol"
	caches   = "zproxy has no cache yet"
	buffered = "bodies are passed on as they come and never held, in memory or on disk"
	byItself = "zproxy has no need of it, it sees to that by itself"
	bodies   = "zproxy does not change bodies"
	program  = "scripts and modules have no equivalent"
	filters  = "not translated yet; write it as a filter: see docs/filters.md"
)

// fates are the directives that are known here.
var fates = sync.OnceValue(func() map[string]fate {
	return convert.Gather(map[fate][]string{
		{inner: true}: {"http", "server", "location", "upstream", "events", "if", "limit_except"},
		// Blocks whose contents are no directives, and directives that are translated.
		{}: {"map", "split_clients", "types", "user", "worker_processes", "worker_connections", "error_log", "listen", "server_name", "http2",
			"ssl_certificate", "ssl_certificate_key", "ssl_protocols", "ssl_client_certificate", "ssl_trusted_certificate", "ssl_verify_client", "ssl_crl",
			"ssl_session_tickets", "return", "rewrite", "set", "deny", "allow", "proxy_pass", "grpc_pass", "proxy_set_header", "grpc_set_header",
			"proxy_connect_timeout", "proxy_read_timeout", "proxy_send_timeout", "grpc_connect_timeout", "grpc_read_timeout", "grpc_send_timeout",
			"proxy_next_upstream", "proxy_next_upstream_tries", "proxy_next_upstream_timeout", "grpc_next_upstream", "grpc_next_upstream_tries", "proxy_redirect",
			"proxy_ssl_verify", "proxy_ssl_trusted_certificate", "proxy_ssl_name", "proxy_ssl_server_name", "proxy_ssl_certificate", "proxy_ssl_certificate_key", "proxy_ssl_protocols",
			"grpc_ssl_verify", "grpc_ssl_trusted_certificate", "grpc_ssl_name", "grpc_ssl_server_name", "grpc_ssl_certificate", "grpc_ssl_certificate_key", "grpc_ssl_protocols",
			"proxy_http_version", "proxy_intercept_errors", "proxy_socket_keepalive", "keepalive", "keepalive_timeout", "keepalive_requests", "least_conn", "ip_hash", "hash", "random",
			"client_max_body_size", "client_header_timeout", "client_body_timeout", "send_timeout", "large_client_header_buffers",
			"set_real_ip_from", "real_ip_header", "real_ip_recursive", "access_log", "log_format", "error_page", "default_type", "stub_status", "internal",
			"root", "alias", "try_files", "satisfy", "http2_max_concurrent_streams"},

		{note: byItself}: {"pid", "daemon", "master_process", "worker_cpu_affinity", "worker_rlimit_nofile", "worker_priority", "worker_shutdown_timeout",
			"multi_accept", "use", "accept_mutex", "accept_mutex_delay", "thread_pool", "timer_resolution", "pcre_jit", "sendfile", "sendfile_max_chunk", "tcp_nopush", "tcp_nodelay", "aio", "directio", "output_buffers",
			"types_hash_max_size", "types_hash_bucket_size", "server_names_hash_bucket_size", "server_names_hash_max_size", "map_hash_bucket_size", "map_hash_max_size", "variables_hash_max_size",
			"variables_hash_bucket_size", "proxy_headers_hash_max_size", "proxy_headers_hash_bucket_size", "reset_timedout_connection", "lingering_close", "lingering_time", "lingering_timeout", "client_header_buffer_size",
			"connection_pool_size", "request_pool_size", "postpone_output", "server_tokens", "zone", "merge_slashes", "port_in_redirect", "absolute_redirect", "server_name_in_redirect",
			"log_not_found", "log_subrequest", "open_log_file_cache", "open_file_cache", "open_file_cache_valid", "open_file_cache_min_uses", "open_file_cache_errors", "recursive_error_pages", "msie_padding",
			"if_modified_since", "etag", "resolver", "resolver_timeout", "lock_file", "http2_chunk_size", "http2_recv_buffer_size", "chunked_transfer_encoding", "ignore_invalid_headers",
			"underscores_in_headers", "index", "autoindex_localtime", "limit_req_log_level", "limit_conn_log_level", "ntlm", "max_ranges", "proxy_force_ranges"},
		{note: buffered}: {"proxy_buffering", "proxy_request_buffering", "proxy_buffers", "proxy_buffer_size", "proxy_busy_buffers_size", "proxy_max_temp_file_size", "proxy_temp_file_write_size", "proxy_temp_path",
			"client_body_buffer_size", "client_body_temp_path", "client_body_in_file_only", "client_body_in_single_buffer", "grpc_buffer_size", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path", "http2_body_preread_size"},
		{note: "the standard library's choice: suites with an AEAD and an ephemeral key exchange, tickets whose keys change every day, X25519MLKEM768 and the usual curves"}: {"ssl_ciphers",
			"ssl_prefer_server_ciphers", "ssl_session_cache", "ssl_session_timeout", "ssl_dhparam", "ssl_ecdh_curve", "ssl_conf_command", "ssl_buffer_size", "ssl_early_data", "proxy_ssl_ciphers", "proxy_ssl_session_reuse", "proxy_ssl_verify_depth",
			"ssl_verify_depth"},
		{note: "authorities are giving OCSP up, and zproxy does not staple its responses"}: {"ssl_stapling", "ssl_stapling_verify", "ssl_stapling_file", "ssl_ocsp"},

		{lost: static}:  {"autoindex", "gzip_static", "dav_methods", "create_full_put_path", "dav_access", "mp4", "flv", "random_index"},
		{lost: scripts}: {"fastcgi_pass", "fastcgi_param", "fastcgi_index", "fastcgi_split_path_info", "fastcgi_buffers", "fastcgi_buffer_size", "fastcgi_read_timeout", "fastcgi_cache", "fastcgi_hide_header", "fastcgi_intercept_errors", "uwsgi_pass", "uwsgi_param", "uwsgi_read_timeout", "scgi_pass", "scgi_param", "memcached_pass"},
		{lost: caches}:  {"proxy_cache", "proxy_cache_path", "proxy_cache_valid", "proxy_cache_key", "proxy_cache_bypass", "proxy_no_cache", "proxy_cache_use_stale", "proxy_cache_lock", "proxy_cache_methods", "proxy_cache_min_uses", "proxy_cache_revalidate", "proxy_cache_background_update", "proxy_ignore_headers", "slice"},
		{lost: bodies}:  {"sub_filter", "sub_filter_once", "sub_filter_types", "addition_types", "add_before_body", "add_after_body", "ssi", "gunzip", "image_filter", "xslt_stylesheet"},
		{lost: program}: {"load_module", "perl", "perl_set", "perl_modules", "js_import", "js_content", "js_set", "init_by_lua_block", "init_worker_by_lua_block", "content_by_lua_block", "access_by_lua_block", "rewrite_by_lua_block", "header_filter_by_lua_block", "body_filter_by_lua_block", "log_by_lua_block", "set_by_lua_block", "balancer_by_lua_block", "ssl_certificate_by_lua_block", "content_by_lua_file", "access_by_lua_file", "rewrite_by_lua_file", "lua_package_path", "lua_shared_dict", "modsecurity", "modsecurity_rules_file"},
		{lost: "zproxy forwards HTTP, not TCP, UDP or mail"}:                                                     {"stream", "mail"},
		{lost: "the files of another server's ticket keys have another format; see listeners[].tls.ticket_keys"}: {"ssl_session_ticket_key"},
		{lost: "keys with a passphrase are not read; store them without (openssl pkey)"}:                         {"ssl_password_file"},
		{lost: "handshakes are refused by listeners[].tls.strict_sni, for all names no certificate is for"}:      {"ssl_reject_handshake"},
		{lost: "there is no such setting; the route's max_stream_duration and limits.min_rate come close"}:       {"limit_rate", "limit_rate_after", "proxy_limit_rate"},
		{lost: "the address that connections to origins come from is the system's choice"}:                       {"proxy_bind", "grpc_bind"},
		{lost: "sticky sessions need a secret of their own: see sticky in docs/upstreams.md"}:                    {"sticky"},
		{lost: "only a part of a request's head can be the condition here: host, path, method, listener"}:        {"geo", "geoip_country", "geoip_city", "geoip2"},
		{lost: "the request is passed on with method, head and body as they came"}:                               {"proxy_method", "proxy_pass_request_body", "proxy_pass_request_headers", "proxy_set_body"},
		{lost: "mirrored requests are not translated"}:                                                           {"mirror", "mirror_request_body"},
		{lost: "zproxy speaks HTTP/1.1 and HTTP/2"}:                                                              {"http3", "quic_retry", "quic_gso"},
		{lost: "endpoints queue per upstream by pool.queue"}:                                                     {"queue"},
		{lost: "paths of Set-Cookie stay as origins send them"}:                                                  {"proxy_cookie_path", "proxy_cookie_domain", "proxy_cookie_flags"},
		{lost: "environment variables are not passed on"}:                                                        {"env"},
		{lost: "secured links, referers and user agents are no conditions here"}:                                 {"valid_referers", "secure_link", "secure_link_md5", "userid", "break"},
		{lost: "no equivalent yet"}: {"gzip", "gzip_types", "gzip_min_length", "gzip_comp_level", "gzip_vary", "gzip_proxied", "gzip_disable", "gzip_buffers", "gzip_http_version", "brotli", "brotli_types", "brotli_comp_level",
			"charset", "charset_types", "add_trailer", "expires"},
		{lost: filters}: {"limit_req", "limit_req_zone", "limit_req_status", "limit_req_dry_run", "limit_conn", "limit_conn_zone", "limit_conn_status", "auth_basic", "auth_basic_user_file",
			"auth_request", "auth_request_set", "auth_jwt", "auth_jwt_key_file", "add_header", "proxy_hide_header", "proxy_pass_header", "grpc_hide_header"},
	})
})
