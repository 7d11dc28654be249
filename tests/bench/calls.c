// One call again and again, as fast as it goes: `calls lookups SECONDS` asks getaddrinfo(3) for localhost, which is in
// /etc/hosts; `calls connects SECONDS` connects a UDP socket, which sends nothing. Says {"calls", "seconds"}.
#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BETWEEN_LOOKS 64 // at the clock

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void look_up(int unused)
{
	struct addrinfo wanted = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;

	(void)unused;
	if (getaddrinfo("localhost", "80", &wanted, &found))
		errx(1, "there is no localhost");
	freeaddrinfo(found);
}

static void connect_to_itself(int udp)
{
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (connect(udp, (struct sockaddr *)&far, sizeof(far)) < 0)
		err(1, "connect");
}

int main(int argc, char **argv)
{
	void (*call)(int) = argc > 1 && !strcmp(argv[1], "connects") ? connect_to_itself : look_up;
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t begun = now_ns(), calls = 0, end;

	if (argc != 3 || udp < 0)
		errx(1, "calls lookups|connects SECONDS");
	end = begun + (uint64_t)(atof(argv[2]) * 1e9);
	while (now_ns() < end)
		for (int number = 0; number < BETWEEN_LOOKS; number++, calls++)
			call(udp);
	printf("{\"calls\": %llu, \"seconds\": %.6f}\n", (unsigned long long)calls, (now_ns() - begun) / 1e9);
	return 0;
}
