package web

import (
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

const (
	reloadPath = "/-/reload"
	// reloadEvery and reloadBurst bound how often HTTP reloads: reloadBurst times at
	// once, and once more after each reloadEvery.
	reloadEvery = 10 * time.Second
	reloadBurst = 10
)

// reloadHandler has the configuration read again. Anybody who reaches the port could
// make the exporter busy with it, so it is off unless asked for, and rate-limited.
func reloadHandler(o Options) http.HandlerFunc {
	// A page of another site can have a browser that reaches the port send a POST.
	foreign := http.NewCrossOriginProtection()
	limit := rate.NewLimiter(rate.Every(reloadEvery), reloadBurst)

	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			answer(w, http.StatusMethodNotAllowed, "only POST reloads the configuration")
		case !o.Lifecycle:
			answer(w, http.StatusForbidden, "reloading by HTTP is off, start with --web.enable-lifecycle or send SIGHUP")
		case foreign.Check(r) != nil:
			answer(w, http.StatusForbidden, "a browser sent this for a page of another site; ask with curl, or from a page of this address")
		case !limit.Allow():
			o.Rejected(rejectedReloads)
			w.Header().Set("Retry-After", strconv.Itoa(int(reloadEvery.Seconds())))
			answer(w, http.StatusTooManyRequests, "too many reloads, try again in "+reloadEvery.String()+" or send SIGHUP")
		default:
			if err := o.Reload(); err != nil {
				answer(w, http.StatusInternalServerError, "the configuration was not reloaded, the one before stays in use:\n"+err.Error())
				return
			}
			answer(w, http.StatusOK, "reloaded")
		}
	}
}
