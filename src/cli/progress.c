/* See progress.h. */
#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/probe.h"
#include "cli/output.h"
#include "cli/terminal.h"

enum { MAX_BAR = 40, TEXT_BYTES = 96 };

static const double BAR_SECONDS = 0.1, PLAIN_SECONDS = 10.0;

void progress_open(struct progress *progress, const char *label, enum progress_unit unit) {
    *progress = (struct progress){.label = label, .unit = unit};
    if (terminal_is_smart(STDERR_FILENO)) {
        progress->form = PROGRESS_BAR;
    } else if (terminal_is(STDERR_FILENO)) {
        progress->form = PROGRESS_PLAIN;
    }
}

static void amount_text(enum progress_unit unit, double amount, char text[16]) {
    if (unit == PROGRESS_BYTES) {
        output_bytes(amount, text);
    } else {
        snprintf(text, 16, amount < 100 ? "%.3g" : "%.0f", amount);
    }
}

static void remaining_text(double seconds, char text[24]) {
    if (!(seconds < 100 * 3600)) {
        snprintf(text, 24, "--");
    } else if (seconds >= 3600) {
        snprintf(text, 24, "%.0f h %02.0f min", floor(seconds / 3600),
                 floor(fmod(seconds, 3600) / 60));
    } else if (seconds >= 60) {
        snprintf(text, 24, "%.0f min %02.0f s", floor(seconds / 60), floor(fmod(seconds, 60)));
    } else {
        snprintf(text, 24, "%.0f s", ceil(seconds));
    }
}

/* "1.2 GB of 4.4 GB, 35.2 MB/s, 1 min 31 s left" */
static void describe(const struct progress *progress, double now, char text[TEXT_BYTES]) {
    char done[16], total[16], speed[16], left[24];
    static const char *const units[] = {"", " tokens", " runs"};
    const char *const unit = units[progress->unit];
    const double seconds = now - progress->started;
    const double rate = seconds > 0.2 ? (double)(progress->done - progress->first) / seconds : 0;
    amount_text(progress->unit, (double)progress->done, done);
    amount_text(progress->unit, (double)progress->total, total);
    amount_text(progress->unit, rate, speed);
    if (progress->total == 0) {
        snprintf(text, TEXT_BYTES, "%s%s, %s/s", done, unit, speed);
        return;
    }
    remaining_text((double)(progress->total - progress->done) / rate, left);
    snprintf(text, TEXT_BYTES, "%s of %s%s, %s/s, %s left", done, total, unit, speed, left);
}

static void draw_bar(const struct progress *progress, const char *text) {
    const int width = terminal_width(STDERR_FILENO);
    if (progress->total == 0) {
        fprintf(stderr, "\r\033[K%s %.*s", progress->label, width > 20 ? width - 20 : 0, text);
        return;
    }
    const double share = (double)progress->done / (double)progress->total;
    char line[256], bar[MAX_BAR + 1];
    int cells = width - snprintf(line, sizeof line, "%s 100%% [] %s ", progress->label, text);
    if (cells > MAX_BAR) cells = MAX_BAR;
    if (cells < 0) cells = 0;
    for (int i = 0; i < cells; i++) bar[i] = (double)i < share * cells ? '#' : '.';
    bar[cells] = '\0';
    snprintf(line, sizeof line, "%s %3.0f%% [%s] %s", progress->label, floor(share * 100), bar,
             text);
    fprintf(stderr, "\r\033[K%.*s", width > 1 ? width - 1 : 1, line);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total) {
    if (progress->form == PROGRESS_SILENT) return;
    const double now = probe_seconds();
    if (progress->started == 0) {
        progress->first = done;
        progress->started = progress->drawn = now;
    }
    if (done < progress->first) progress->first = done; // a download that began anew
    progress->done = done;
    progress->total = total != 0 && total < done ? done : total;
    const double pause = progress->form == PROGRESS_BAR ? BAR_SECONDS : PLAIN_SECONDS;
    if (now - progress->drawn < pause) return;
    progress->drawn = now;
    char text[TEXT_BYTES];
    describe(progress, now, text);
    if (progress->form == PROGRESS_BAR) {
        draw_bar(progress, text);
        progress->visible = true;
    } else {
        fprintf(stderr, "%s: %s\n", progress->label, text);
    }
    fflush(stderr);
}

void progress_close(struct progress *progress) {
    progress->form = PROGRESS_SILENT;
    if (!progress->visible) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->visible = false;
}

bool progress_step(void *progress, uint64_t done, uint64_t total) {
    progress_update(progress, done, total);
    return !terminal_interrupted();
}
