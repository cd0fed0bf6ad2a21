package name

import (
	"context"
	"log/slog"
)

// LogHandler returns a handler that escapes all text in the attributes of records,
// as Escape does, before another one has them. Lines of one text stay apart.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, escapeAttr(a))
		return true
	})
	shown := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	shown.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, shown)
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	shown := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		shown[i] = escapeAttr(a)
	}
	return logHandler{h.Handler.WithAttrs(shown)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(group string) slog.Handler {
	return logHandler{h.Handler.WithGroup(group)}
}

// escapeAttr escapes text and errors. Other values have no names in them.
func escapeAttr(a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(EscapeLines(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok && err != nil {
			a.Value = slog.StringValue(EscapeLines(err.Error()))
		}
	}
	return a
}
