package secure

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// repeatedAfter is when the same is said again of the same other side, and maxRemembered of how many it is remembered.
	repeatedAfter = time.Minute
	maxRemembered = 256
)

// complaints log what goes wrong with members, who try again all the time: the same of one of them now and then, and not too much of all together. The rest is
// logged when everything is.
type complaints struct {
	logger  *slog.Logger
	limiter *rate.Limiter

	mu   sync.Mutex
	said map[string]complaint
}

type complaint struct {
	text string
	at   time.Time
}

func newComplaints(logger *slog.Logger) *complaints {
	return &complaints{logger: logger, limiter: rate.NewLimiter(failuresPerSecond, failuresAtOnce), said: map[string]complaint{}}
}

// log says what is wrong; whose is who it is about.
func (c *complaints) log(message, whose string, err error) {
	level := slog.LevelDebug
	if c.news(message+" "+whose, err.Error()) && c.limiter.Allow() {
		level = slog.LevelWarn
	}
	c.logger.Log(context.Background(), level, message, "remote", whose, "error", err)
}

func (c *complaints) news(about, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if last, ok := c.said[about]; ok && last.text == text && now.Sub(last.at) < repeatedAfter {
		return false
	}
	if len(c.said) >= maxRemembered {
		clear(c.said)
	}
	c.said[about] = complaint{text, now}
	return true
}
